"""Errors of the system as people read them."""

import errno
import os

import pytest

from controller.state_folder import CHECK_PERMISSIONS, refused_by_system


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_says_what_to_do(tmp_path, number):
    found = refused_by_system(OSError(number, os.strerror(number), "finetunes/a.yaml"), tmp_path)
    assert found.message == f"finetunes/a.yaml: {os.strerror(number)}"
    assert found.remedy == CHECK_PERMISSIONS


def test_another_error_has_no_remedy_that_may_be_wrong(tmp_path):
    found = refused_by_system(
        OSError(errno.EIO, "Input/output error", "finetunes/a.yaml"), tmp_path
    )
    assert (found.message, found.remedy) == ("finetunes/a.yaml: Input/output error", "")
