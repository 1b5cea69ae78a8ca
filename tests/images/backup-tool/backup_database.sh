#!/bin/sh
echo "backup of $DB_HOST done"
