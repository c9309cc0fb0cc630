"""The command line: condition anybody's predictions, run a program file, see the problems, train a
network, watch the demo.
"""

from bayescons.cli.command import main
