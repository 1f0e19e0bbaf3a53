"""Sources → rows → examples → dataset. The entry point is `dataset.build_dataset`.

Folders, from the ground up; the architecture test keeps their order::

    storage/       examples of a build in columns and files, for data that exceeds the memory
    sources/       files: found, inspected, decoded, decompressed
    examples/      row → example ⇄ canonical line; function calls; keys that no format reads
    readers/       file → rows; one module per format
    transforms/    example → example: normalised, truncated, personal data treated
    fetch/         databases, URLs and hubs: fetched once into a snapshot
    select/        duplicates, samples, weights, train and held-out split
    pipeline/      rows → prepared examples in worker processes, splits and the report
    reports/       what `ftctl data` shows of a built dataset

Modules: `resolve_sources` (the file behind every source), `build` (the loop over all rows),
`dataset` and `cache` (built once for equal inputs), `verified_datasets` (no inspection of
unchanged files), `cache_gc` (removal of unused entries), `recipes` (versions of the conversion).
"""
