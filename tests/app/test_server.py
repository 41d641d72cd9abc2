import sys

import pytest

from matlode.app.server import serve
from matlode.errors import InputError


def test_without_nicegui_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(InputError, match=r"pip install \"matlode\[app\]\""):
        serve(tmp_path / "runs", port=1, show=False)
    assert not (tmp_path / "runs").exists()
