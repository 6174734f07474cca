"""GRMP-IQA: few-shot image quality assessment by adapting CLIP (ICCV 2025), made reproducible."""
