"""Jobs: what each verb does, put together from its parts, one file a verb."""
