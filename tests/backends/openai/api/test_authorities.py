"""Trusted authorities are read once, and read again where the variables name others."""

import ssl

import pytest

from backends.openai.api.authorities import authorities


def test_clients_share_what_is_trusted():
    assert authorities() is authorities()
    assert authorities().verify_mode is ssl.CERT_REQUIRED
    assert authorities().check_hostname


def test_a_variable_names_others(monkeypatch, tmp_path):
    usual = authorities()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(OSError, match="No such file"):
        authorities()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.delenv("SSL_CERT_FILE")
    assert authorities() is not usual
