"""The doors of the gateway: HTTP and WebSocket, and nothing that decides about trades."""
