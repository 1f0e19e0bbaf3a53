"""Sources → rows → examples → dataset. The entry point is `dataset.build_dataset`.

Where a change belongs, in the order of processing::

    find, globs, look, encodings, packed   files of the repository: paths, changes, bytes
    fetch/                                 databases, URLs, hubs: fetched once into a snapshot
    given                                  the file behind every source of a spec
    readers/                               one format each: file → rows
    batches, workers                       rows → processes, in order
    prepare_rows, recipes                  what a process does to each row:
      shapes, sharegpt, preference, calls    row → example
      beside                                 keys of a row that no shape reads
      prepare, html_text, personal, pii      example → example
      check_calls                            check that calls are possible
      plain                                  fast path for the common case of these steps
      measure, truncate                      examples that the model refuses or that are too long
      example, compared                      example ⇄ canonical line; text for near duplicates
    page, spool, scratch                   prepared examples, until `decide` has run
    decide: equal, alike, near, split      duplicates, samples, weights, sides
    parts, writer, aside, books, report    output files and the report
    build, order, dataset, cache, garbage  main loop; cache by content; removal of unused entries
    unchanged                              datasets that need no inspection again
    lengths, statistics, difference,       what `ftctl data` shows of a built dataset
    trace, view, language, contradictions
"""
