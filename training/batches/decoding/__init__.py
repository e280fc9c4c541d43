"""Decoding in processes: batches cut, decoded by workers into shared memory, in their order."""
