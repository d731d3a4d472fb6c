# The dashboard for a public host: no root, CPU only, runs of other visitors hidden.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 edgewise
WORKDIR /home/edgewise/app

COPY requirements.txt .
COPY requirements requirements
RUN pip install --no-cache-dir -r requirements.txt

COPY --chown=edgewise . .
USER edgewise
# the children of a run write no bytecode: it is there already
RUN python -m compileall -q .
ENV EDGEWISE_PUBLIC=1 EDGEWISE_HOME=/home/edgewise/.edgewise PYTHONUNBUFFERED=1

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/health', timeout=4)"]
# a Space shows the page in another site's frame, over HTTPS: there the cookie that uploads are checked by must say so
CMD ["sh", "-c", "exec streamlit run server.py --server.port=8501 --server.address=0.0.0.0 --server.headless=true ${SPACE_ID:+--server.xsrfCookieSameSite=none}"]
