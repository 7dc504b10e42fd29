"""Data sets: the bundled digits, tables from files, and splits."""

from staticflow.data.digits import Digits, load_digits
from staticflow.data.errors import DataError
from staticflow.data.files import read_table
from staticflow.data.split import Split, split_rows
from staticflow.data.table import Table

__all__ = ["DataError", "Digits", "Split", "Table", "load_digits", "read_table", "split_rows"]
