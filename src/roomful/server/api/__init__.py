"""The server API, as LiveKit's server SDKs call it: Twirp over HTTP."""
