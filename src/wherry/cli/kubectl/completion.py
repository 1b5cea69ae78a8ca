"""`kubectl completion`: verbs, flags, and resource types, for bash, zsh and fish."""

from wherry.cli.kubectl.errors import UsageError
from wherry.cli.kubectl.session import Session

HELP = "Output shell completion code for the specified shell (bash, zsh or fish)."
EXAMPLES = """
source <(kubectl completion bash)
"""
USAGE = "SHELL"
FLAGS = ()

_BASH = """\
# bash completion for kubectl
_kubectl_complete() {
    local current=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "%(verbs)s" -- "$current"))
        return
    fi
    case "$current" in
    -*) COMPREPLY=($(compgen -W "$(kubectl "$verb" --help 2>/dev/null | sed -n 's/^ .*\\(--[a-z-]*\\)=.*/\\1/p')" -- "$current")) ;;
    *)
        case "$verb" in
        logs|exec|attach|port-forward) COMPREPLY=($(compgen -W "$(kubectl get pods -o name 2>/dev/null | cut -d/ -f2)" -- "$current")) ;;
        *)
            if [ "$COMP_CWORD" -eq 2 ]; then
                COMPREPLY=($(compgen -W "$(kubectl api-resources --cached -o name 2>/dev/null)" -- "$current"))
            else
                COMPREPLY=($(compgen -W "$(kubectl get "${COMP_WORDS[2]}" -o name 2>/dev/null | cut -d/ -f2)" -- "$current"))
            fi ;;
        esac ;;
    esac
}
complete -o default -F _kubectl_complete kubectl
"""

_FISH = """\
# fish completion for kubectl
complete -c kubectl -f -n "test (count (commandline -opc)) -eq 1" -a "%(verbs)s"
complete -c kubectl -f -n "test (count (commandline -opc)) -eq 2" -a "(kubectl api-resources --cached -o name 2>/dev/null)"
complete -c kubectl -f -n "test (count (commandline -opc)) -ge 3" -a "(kubectl get (commandline -opc)[3] -o name 2>/dev/null | string replace -r '.*/' '')"
"""


def run(session: Session) -> int:
    from wherry.cli.kubectl.main import VERBS

    arguments = session.options.arguments
    if not arguments:
        raise UsageError("Shell not specified.")
    if len(arguments) > 1:
        raise UsageError("Too many arguments. Expected only the shell type.")
    verbs = " ".join(name for name, row in VERBS.items() if row[0] != "refused")
    if arguments[0] == "bash":
        print(_BASH % {"verbs": verbs}, end="")
    elif arguments[0] == "zsh":
        print("#compdef kubectl\nautoload -U +X bashcompinit && bashcompinit\n" + _BASH % {"verbs": verbs}, end="")
    elif arguments[0] == "fish":
        print(_FISH % {"verbs": verbs}, end="")
    else:
        raise UsageError(f'Unsupported shell type "{arguments[0]}".')
    return 0
