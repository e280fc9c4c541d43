"""A helper process for the tests of helper processes: it divides one by what it is asked."""

import json
import sys

from training.processes import serve

if __name__ == "__main__":
    serve(json.loads(sys.argv[1])["line"], lambda number: 1 / number)
