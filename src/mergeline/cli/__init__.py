"""The command line. Every command is in the module that its line in `COMMANDS` names.

In: arguments, the environment. Out: `main`. Never: the import of a command's module before it is wanted; Faust alone
takes longer to import than most commands to run.
"""

from mergeline.cli.group import Commands, version_option

COMMANDS = {
    "demo": "mergeline.cli.demo:demo",
    "worker": "mergeline.cli.worker:worker",
    "migrate": "mergeline.cli.setting_up:migrate",
    "topics": "mergeline.cli.setting_up:topics",
    "catalog": "mergeline.cli.catalogs:catalog",
    "import": "mergeline.cli.importing:import_",
    "send": "mergeline.cli.sending:send",
    "watch": "mergeline.cli.watching:watch",
    "show": "mergeline.cli.showing:show",
    "redrive": "mergeline.cli.redriving:redrive",
    "replay": "mergeline.cli.replaying:replay",
    "verify": "mergeline.cli.verifying:verify",
    "offsets": "mergeline.cli.offsets:offsets",
    "prune": "mergeline.cli.pruning:prune",
    "bench": "mergeline.cli.bench:bench",
    "settings": "mergeline.cli.setting_up:settings",
}
"""In the order in which somebody new needs them."""


@version_option
def _mergeline() -> None:
    """Identifier updates, customer merges and loyalty cards: requests in by Kafka, events out.

    Settings come from the environment (see: mergeline settings). Begin with: mergeline demo
    """


main = Commands("mergeline", COMMANDS, callback=_mergeline)
