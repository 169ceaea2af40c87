"""The archiver as a Matrix member: sign-in, keys, sync, media."""
