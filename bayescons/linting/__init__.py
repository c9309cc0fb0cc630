"""The linter: a program's statements looked at before anything is sampled."""

from bayescons.linting.report import Report, check
from bayescons.linting.rules import Finding
