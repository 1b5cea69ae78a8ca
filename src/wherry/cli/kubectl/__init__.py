"""`wherry kubectl` and the program `kubectl`: one verb one module, imports lazy. Start reading at `main.py`."""
