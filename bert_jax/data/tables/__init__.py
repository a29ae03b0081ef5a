"""Tables of labelled examples: files to columns, with the place of each record.

delimited.py reads .csv and .tsv, json_records.py JSON, parquet_rows.py Parquet;
header.py finds the columns in a header; reading.py is the one way in.
"""

from bert_jax.data.tables.reading import Table as Table
from bert_jax.data.tables.reading import read_table as read_table
