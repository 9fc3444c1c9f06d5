"""The one lock around PDFium.

PDFium is not thread-safe: no two of its functions may run at once in a process, not even on different documents
(https://pdfium.googlesource.com/pdfium/+/main/public/fpdfview.h, "the caller must serialize the calls"). Whatever
calls pypdfium2, and whatever closes its objects, holds this lock meanwhile. Hold it for a page, not for a document,
so that a long document does not keep the others waiting.
"""

from __future__ import annotations

import threading

PDFIUM_LOCK = threading.Lock()
