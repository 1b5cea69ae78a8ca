# Shows the pod's configuration as a page; ends at once when it is told to.
env | grep -E '^(api_url|log_level|cache_enabled)=' | sort > config.txt
hostname > pod.txt
trap 'kill $!; exit 0' TERM
httpd -f -p 80 -h /www &
wait $!
