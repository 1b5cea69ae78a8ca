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
_kubectl_flags() {
    kubectl "$1" --help 2>/dev/null | sed -n 's/^ .*\\(--[a-z-]*\\)=.*/\\1/p' | sort -u
}
_kubectl_names() {
    kubectl get "$1" -o name 2>/dev/null | cut -d/ -f2
}
_kubectl_complete() {
    local current=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="%(verbs)s"
    else
        case "$current" in
        -*) words=$(_kubectl_flags "$verb") ;;
        *)
            case "$verb" in
            logs|exec|attach|port-forward) words=$(_kubectl_names pods) ;;
            *)
                if [ "$COMP_CWORD" -eq 2 ]; then
                    words=$(kubectl api-resources --cached -o name 2>/dev/null)
                else
                    words=$(_kubectl_names "${COMP_WORDS[2]}")
                fi ;;
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _kubectl_complete kubectl
"""

_FISH = """\
# fish completion for kubectl
function __kubectl_at
    test (count (commandline -opc)) $argv
end
function __kubectl_names
    kubectl get (commandline -opc)[3] -o name 2>/dev/null | string replace -r '.*/' ''
end
complete -c kubectl -f -n "__kubectl_at -eq 1" -a "%(verbs)s"
complete -c kubectl -f -n "__kubectl_at -eq 2" -a "(kubectl api-resources --cached -o name 2>/dev/null)"
complete -c kubectl -f -n "__kubectl_at -ge 3" -a "(__kubectl_names)"
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
