"""The demo: claims kept, requests refused and deferred, tokens identical; every verdict computed from what happened."""
