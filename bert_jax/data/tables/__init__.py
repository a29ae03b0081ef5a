"""Tables of labelled examples: files to columns, with the place of each record.

delimited.py reads .csv and .tsv, json_records.py JSON, parquet_rows.py Parquet;
header.py finds the columns in a header; reading.py is the one way in.
"""
