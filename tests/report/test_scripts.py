import gzip
from base64 import b64decode

import pytest

from matlode.errors import InputError
from matlode.report.scripts import SCRIPTS, TABLE, Script, pack, pack_script, read_table_style


def test_packed_text_comes_back_and_is_always_the_same():
    text = "</script> 2θ " * 50
    assert gzip.decompress(b64decode(pack(text))).decode() == text
    assert pack(text) == pack(text)
    assert "<" not in pack(text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_packages_carry_their_scripts_and_licences(script):
    assert len(script.text()) > 100_000
    assert len(pack_script(script)) < 2.5e6
    assert script.licence().startswith(script.package)
    assert "opyright" in script.licence()


def test_the_table_has_its_style():
    assert "dataTable" in read_table_style()


def test_a_package_without_the_file_is_told():
    other = Script(name="table", package=TABLE.package, file="itables/html/gone.js")
    with pytest.raises(InputError, match=r"itables .* has no itables/html/gone\.js"):
        other.text()
