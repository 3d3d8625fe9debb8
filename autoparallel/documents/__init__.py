"""The deployment plan as a document: Markdown, and HTML with figures; every number in it is computed.

``source`` reads a result, ``subject`` estimates everything that the text needs, ``sections`` write it,
``markdown`` and ``page`` set it.
"""
