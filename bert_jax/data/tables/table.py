"""The result of every reader of a table: columns, and places of records."""

import dataclasses
from typing import Any


@dataclasses.dataclass(kw_only=True)
class Table:
  """Columns of a file, and where each record stands.

  Attributes:
    columns: Name asked for -> one value a record: strings of .csv and
      .tsv, any JSON value of JSON, any value of pyarrow's of Parquet.
    origins: 'path:line' of each record ('path:row N' of Parquet).
    lines: The line from 1 where each record begins; empty of Parquet.
    may_be_header: The first record is the first line of a file whose columns
      went by number, and nobody said that it is an example.
    notes: Lines for the user on what was guessed or is odd.
  """

  columns: dict[str, list[Any]]
  origins: list[str] = dataclasses.field(default_factory=list)
  lines: list[int] = dataclasses.field(default_factory=list)
  may_be_header: bool = False
  notes: list[str] = dataclasses.field(default_factory=list)
