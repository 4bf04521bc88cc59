"""From a repository of the Hugging Face hub to checked files in its local cache; alone imports huggingface_hub."""
