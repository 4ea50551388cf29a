"""Tables of the books as files of HTTP answers, and as lines for a command."""

import tempfile
from collections.abc import Iterator

from django.http import FileResponse, HttpResponseBase, StreamingHttpResponse

from execution.operations.export_files import FileFormat, csv_file, jsonl_file, write_parquet
from execution.queries.exports import (
    DATASETS,
    KOINLY,
    ExportFilter,
    FilterError,
    exported,
    has_more_than,
    tax_lines,
)

TAX = "tax"
TABLES = (*DATASETS, TAX)
# A larger file is made by `manage.py export`: no request holds a worker of the web for minutes.
MOST_ROWS = 100_000
IN_MEMORY_BYTES = 5_000_000


class TooManyRowsError(ValueError):
    """More rows match than one answer has. The message names the command that writes them all."""


def download(table: str, which: ExportFilter, file_format: FileFormat) -> HttpResponseBase:
    """Return a table as a file.

    Raises:
        FilterError: the table cannot be filtered so, or the tax file has another format than CSV.
        TooManyRowsError: narrow the range.
        NotInstalledError: Parquet, and pyarrow is missing.

    """
    if table == TAX and file_format is not FileFormat.CSV:
        raise FilterError("format", "the tax file")
    if has_more_than("fills" if table == TAX else table, which, MOST_ROWS):
        raise TooManyRowsError(f"more than {MOST_ROWS} rows: narrow the range, or use `manage.py export {table}`")
    name = f"{table}.{file_format.value}"
    if file_format is FileFormat.PARQUET:
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 -- the answer closes it
        write_parquet(DATASETS[table].columns(), exported(table, which), file)
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename=name, content_type=file_format.media_type)
    answer = StreamingHttpResponse(text_lines(table, which, file_format), content_type=file_format.media_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def text_lines(table: str, which: ExportFilter, file_format: FileFormat) -> Iterator[str]:
    """Return the lines of a table's file in a format of text."""
    if table == TAX:
        return csv_file(KOINLY, (found.cells() for found in tax_lines(which)))
    names = [column.name for column in DATASETS[table].columns()]
    write = csv_file if file_format is FileFormat.CSV else jsonl_file
    return write(names, exported(table, which))
