"""What keeps a package at work on a device: a systemd unit, and a container for the rest."""

SERVICE = """\
# Serves the package on http://127.0.0.1:8000 from start-up on. As root, in this folder:
#   useradd --system edgewise; mkdir -p /opt/edgewise; cp -r . /opt/edgewise; chown -R edgewise /opt/edgewise
#   cp edgewise.service /etc/systemd/system/; systemctl enable --now edgewise
[Unit]
Description=Edgewise image classifier
After=network.target

[Service]
User=edgewise
WorkingDirectory=/opt/edgewise
ExecStart=/opt/edgewise/.venv/bin/python serve.py
Restart=on-failure
RestartSec=5
NoNewPrivileges=true
ProtectSystem=strict
ReadWritePaths=/opt/edgewise
ProtectHome=true
PrivateTmp=true

[Install]
WantedBy=multi-user.target
"""

DOCKERFILE = """\
# The package behind HTTP, for arm64 and amd64:
#   docker build -t edgewise-package . && docker run --rm -p 8000:8000 edgewise-package
FROM python:PYTHON-slim
RUN useradd --create-home --uid 1000 edgewise
WORKDIR /home/edgewise/package
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=edgewise . .
USER edgewise
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s CMD \\
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["python", "serve.py", "--host", "0.0.0.0"]
"""
