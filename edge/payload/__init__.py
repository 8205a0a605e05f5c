"""The payload room: how payloads are kept, edited and indexed."""
