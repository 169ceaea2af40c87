"""What nio writes of what it can't read may hold keys and messages: it writes nothing, whoever uses it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["archiver.capture.service", "archiver.oversight.participant"])
def test_nothing_of_nios_log_is_written(module):
    program = f"import logging, {module}; assert not logging.getLogger('nio.crypto').isEnabledFor(logging.CRITICAL)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
