"""A batch of work: counts, and says so."""

total = sum(range(1000))
print(f"processed 1000 records, sum {total}")
