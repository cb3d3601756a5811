#!/usr/bin/env bash
# The rooms keep the order of src/LAYERS, and only base and net touch threads, clocks and files.
exec python3 "$(dirname "$0")/../../tools/check_layers.py"
