import io

from llenergymeasure.matrix.runners.output import BoundedLog, Lines


def bounded(chunks: list[bytes], limit: int) -> bytes:
    sink = io.BytesIO()
    log = BoundedLog(sink, limit)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    return sink.getvalue()


def test_what_fits_is_kept_as_it_is() -> None:
    assert bounded([b"one\n", b"two\n"], 8) == b"one\ntwo\n"


def test_a_little_more_than_fits_is_kept_too() -> None:
    assert bounded([b"one\n", b"two\n"], 5) == b"one\ntwo\n"


def test_of_much_more_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() -> None:
    chunks = [b"begin\n", *(b"x" * 1000 for _ in range(1000)), b"the end\n"]
    kept = bounded(chunks, 6)
    beginning, _, rest = kept.partition(b"\n[")
    assert beginning == b"begin\n"
    assert rest.endswith(b"the end\n")
    omitted = int(rest.split()[0])
    assert len(beginning) + omitted + len(rest.partition(b"]\n")[2]) == sum(map(len, chunks))
    assert b"kept up to 6 bytes" in rest


def test_one_chunk_larger_than_everything_is_no_way_around_the_limit() -> None:
    assert len(bounded([b"x" * 10_000_000], 10)) < 100_000


def said(chunks: list[bytes]) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append)
    for chunk in chunks:
        lines.write(chunk)
    lines.close()
    return found


def test_lines_are_whole_however_they_come() -> None:
    assert said([b"fir", b"st\nsec", b"ond\n", b"last"]) == ["first", "second", "last"]


def test_a_line_without_an_end_comes_in_pieces() -> None:
    pieces = said([b"x" * 20_000, b"\n"])
    assert "".join(pieces) == "x" * 20_000
    assert max(map(len, pieces)) <= 8192


def test_nothing_in_a_line_moves_the_cursor_of_who_reads_it() -> None:
    assert said([b"\x1b[2J\x1b[31mred\x1b[0m\tand \x1b]0;title\x07rest\r\n"]) == ["red\tand rest"]
    assert said([b"\xff\xfe\n"]) == ["��"]
