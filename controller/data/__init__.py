"""Sources → rows → examples → dataset. The door is `dataset.build_dataset`.

Where a change goes, in the order in which data comes along::

    find, globs, look, encodings, packed   files of the repository: where, whether changed, what bytes
    fetch/                                 databases, URLs, hubs: once into a snapshot file
    given                                  the file behind every source of a spec
    readers/                               one format each: file → rows
    batches, workers                       rows → processes, in order
    prepare_rows, recipes                  what a process does to each row:
      shapes, sharegpt, preference, calls    row → example
      beside                                 keys of a row that no shape reads
      prepare, html_text, personal, pii      example → example
      check_calls                            whether what is called can be
      plain                                  the common case of all that, at once
      measure, truncate                      what the model refuses, what is too long
      example, compared                      example ⇄ canonical line; what near duplicates share
    page, spool, scratch                   prepared examples, until it is decided which stay
    decide: equal, alike, near, split      duplicates, samples, weights, sides
    parts, writer, aside, books, report    what is written, and what is said of it
    build, order, dataset, cache, garbage  the walk; kept by content; removed when unused
    unchanged                              datasets that need not be looked at again
    lengths, statistics, difference,       what `ftctl data` shows of a built dataset
    trace, view, language, contradictions
"""
