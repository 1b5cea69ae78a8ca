"""Output formats shared by the command lines: Go templates, Go-flavoured JSON, tables, human sizes and times."""
