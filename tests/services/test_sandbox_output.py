"""What code writes, as a text: told in pieces or kept whole, it is the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick.ports.sandboxes import Stream
from tallystick.services.sandbox_output import Texts, output_text


@given(
    st.lists(
        st.sampled_from([b"a", b"\0", b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\xff", "\u20ac".encode()])
    )
)
def test_pieces_make_the_text_that_is_kept(pieces: list[bytes]) -> None:
    """However bytes are cut, and whether or not they are UTF-8."""
    told: list[str] = []

    class Audience:
        def begun(self) -> None:
            """Nothing is to be done."""

        def wrote(self, _stream: Stream, text: str) -> None:
            told.append(text)

    texts = Texts(Audience())
    for piece in pieces:
        texts.add("stderr", piece)
    texts.end()
    assert output_text(b"".join(pieces)) == "".join(told)
    assert "" not in told
