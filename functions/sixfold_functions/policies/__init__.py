"""Policies as AWS writes them: read, checked and evaluated. Pure; identity and key management both decide with them."""
