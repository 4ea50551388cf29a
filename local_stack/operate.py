"""`./service COMMAND`: an operator's command against the stack that `make run` has started in this folder.

It takes the stack's addresses and keys from the file that the stack keeps while it runs. Where none runs, the
environment and `.env` say what the command works on, as they do for the service itself.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from execution_project.env import describe_refusal
from local_stack.lease import fingerprint
from local_stack.server import private_file
from local_stack.settings import ROOT, STATE, LocalEnvironment

FILE = "environment"
HELP = """Usage: ./service COMMAND ...    (each command explains itself with --help)

Look
  ./service explain <trade or request id>       the whole story of a decision, with every number that decided
  ./service kill_switch                         what is in force
  ./service release_holds                       what holds requests and entries, and for how long
  ./service quarantine                          stored rows that cannot be used
  ./service check_exchange                      clock, modes, limits and key, before the first decision

Act (each wants a reason, which is written to the journal)
  ./service kill_switch halt --reason "drill"   no new entries, resting ones are cancelled; flatten also closes
  ./service kill_switch released --reason "drill over"
  ./service release_entries --reason "checked" --scope BTCUSDT
  ./service release_holds --release all --by NAME --reason "checked"
  ./service rearm_ess --reason "risk-safety is armed again"
  ./service set_policy risk.max_positions 5 --by NAME --reason "smaller"
  ./service dead_letter <id> --replay --payload corrected.json --reason "producer mended"
  ./service write_off <id> --reason "..."       ends what the exchange denies; without a reason it only asks
  ./service export trades --output trades.csv   a table of the books as CSV, JSON Lines or Parquet, or a tax file
  ./service replay_events --after 0 --count     what would be published again

All commands of Django and of the service: ./service help"""


def main(arguments: Sequence[str]) -> None:
    """Run the command in place of this process; without one, print what there is."""
    if not arguments or list(arguments) in (["-h"], ["--help"]):
        print(HELP)  # noqa: T201 - a command speaks to its user
        return
    try:
        folder = Path(LocalEnvironment().state_dir or STATE)
    except ValidationError as error:
        sys.exit("\n".join(describe_refusal(error)))
    env = os.environ | environment_of(folder)
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "manage.py", *arguments], env)  # noqa: S606 - no shell is what we want


def keep_environment(folder: Path, own: dict[str, str]) -> Path:
    """Write what a running stack has decided where only its owner can read it: keys are among it."""
    path, owner = folder / FILE, os.getpid()
    kept = {"owner": owner, "fingerprint": fingerprint(owner), "environment": own}
    with private_file(path) as file:
        file.write(json.dumps(kept, indent=2).encode())
    return path


def environment_of(folder: Path) -> dict[str, str]:
    """Return what the stack that runs on this folder has decided; nothing where none runs."""
    path = folder / FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    # The file of a stack that was killed leads nowhere.
    if not kept or fingerprint(kept["owner"]) != kept["fingerprint"]:
        return {}
    found: dict[str, str] = kept["environment"]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
