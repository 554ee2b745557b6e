"""A week of sessions in vendors' files, to be made odd, and what is read of it."""

import gzip
import json
from datetime import date

from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config, open_source

MONDAY = date(2026, 7, 20)


DAYS = trading_days(MONDAY, date(2026, 7, 24))


PER_DAY = 5 * 25 * 2


def read(folder, name="spx_cboe"):
    source = open_source(default_config(name, data_dir=str(folder.root)))
    return source.read(source.list_snapshots())


def sessions(tables):
    return sorted(tables.quotes["snapshot"].dt.date().unique().to_list())


def lines_of(folder):
    """Rows that the folder's chains hold, counted in the files themselves."""
    files = (folder.root / "spx_cboe_eod" / "chains").glob("*.csv.gz")
    return sum(len(gzip.decompress(path.read_bytes()).decode().splitlines()) - 1 for path in files)


def text_of(folder, day):
    return gzip.decompress(folder.path(day).read_bytes()).decode()


def put(folder, day, text):
    data = text if isinstance(text, bytes) else text.encode()
    folder.path(day).write_bytes(gzip.compress(data, mtime=0))


def set_cells(folder, day, rows, **cells):
    """Write cells of some rows (numbered from 0) of a session's file, quoted where they hold a comma."""
    header, *lines = text_of(folder, day).splitlines()
    names = header.split(",")
    for n in rows:
        values = lines[n].split(",")
        for name, cell in cells.items():
            values[names.index(name)] = f'"{cell}"' if "," in cell else cell
        lines[n] = ",".join(values)
    put(folder, day, "\n".join([header, *lines]) + "\n")


def barchart_day(barchart, change):
    """A week whose second session's document is changed."""
    barchart.write_days(MONDAY, DAYS[-1])
    document = barchart.document(DAYS[1])
    change(document, next(iter(document["expiries"].values())))
    barchart.path(DAYS[1]).write_bytes(gzip.compress(json.dumps(document).encode()))
    return read(barchart, "spx_barchart")
