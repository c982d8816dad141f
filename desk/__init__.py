"""Where wishes become orders and everything is remembered. So far: who is watching what."""
