"""Data sets: the bundled digits, tables and texts from files, and splits."""

from staticflow.data.digits import Digits, load_digits
from staticflow.data.errors import DataError
from staticflow.data.files import read_table
from staticflow.data.split import Split, split_rows
from staticflow.data.table import Table
from staticflow.data.text import Text, read_text

__all__ = [
    "DataError",
    "Digits",
    "Split",
    "Table",
    "Text",
    "load_digits",
    "read_table",
    "read_text",
    "split_rows",
]
