"""Jobs: the work of each verb, put together from its parts, one file a verb."""
