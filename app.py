"""Opens the app: python app.py, or as a Hugging Face Space."""

from demo.app.serve import serve

if __name__ == "__main__":
    serve()
