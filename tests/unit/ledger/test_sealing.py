"""What is sealed can be opened by the right key in the right place, and by nothing else."""

import datetime as dt
import os
import stat
import uuid

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from archiver.ledger.sealing import DataKey, FileKey, SealingError, bound, month_of


def data_key() -> DataKey:
    return DataKey(uuid.uuid4(), AESGCM(os.urandom(32)))


@given(st.binary())
def test_a_sealed_value_opens_to_the_same_bytes(plain):
    key = data_key()
    sealed = key.seal(plain, b"1|!r|$e|event")
    assert key.open(sealed, b"1|!r|$e|event") == plain
    assert len(plain) < 4 or plain not in sealed


def test_a_sealed_value_moved_to_another_event_does_not_open():
    key = data_key()
    sealed = key.seal(b"vertrouwelijk", bound(1, "!r", "$e|event"))
    for place in (
        bound(1, "!r", "$f|event"),
        bound(1, "!q", "$e|event"),
        bound(2, "!r", "$e|event"),
        bound(1, "!r", "$e|payload"),
    ):
        with pytest.raises(SealingError):
            key.open(sealed, place)


@given(st.integers(0, 60), st.integers(1, 255))
def test_one_changed_bit_breaks_the_seal(position, mask):
    key = data_key()
    sealed = bytearray(key.seal(b"x" * 40, b"p"))
    position = 17 + position % (len(sealed) - 17)
    sealed[position] ^= mask
    with pytest.raises(SealingError):
        key.open(bytes(sealed), b"p")


def test_the_organisation_key_is_made_once_and_for_its_owner_only(tmp_path):
    made = FileKey.load(tmp_path / "keys", create=True)
    assert FileKey.load(tmp_path / "keys", create=True).key == made.key
    assert stat.S_IMODE((tmp_path / "keys" / "organisation.key").stat().st_mode) == 0o600


def test_a_missing_or_damaged_organisation_key_says_what_to_do(tmp_path):
    with pytest.raises(SealingError, match="griffier migrate"):
        FileKey.load(tmp_path)
    (tmp_path / "organisation.key").write_text("a2xlaW4=")
    with pytest.raises(SealingError, match="32 bytes"):
        FileKey.load(tmp_path)


def test_another_organisation_key_does_not_unwrap(tmp_path):
    one, other = (FileKey.load(tmp_path / name, create=True) for name in ("een", "twee"))
    wrapped = one.wrap(b"k" * 32, b"data|1")
    assert one.unwrap(wrapped, b"data|1") == b"k" * 32
    for key, context in ((other, b"data|1"), (one, b"data|2")):
        with pytest.raises(SealingError):
            key.unwrap(wrapped, context)


def test_keys_do_not_show_themselves(tmp_path):
    key = FileKey.load(tmp_path, create=True)
    assert repr(key.key) not in repr(key)


def test_the_month_is_that_of_utc():
    late = dt.datetime(2026, 1, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert month_of(late) == dt.date(2025, 12, 1)
