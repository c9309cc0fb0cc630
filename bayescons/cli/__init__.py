"""The command line: condition anybody's predictions, run a program file, see the problems, train a
network, watch the demo.
"""

from bayescons.extras import require

require("cli", by="bayescons.cli")

from bayescons.cli.command import main
