"""pytrec_eval computes the figures of metrics.json from the run files and judgments."""

import json
from collections import defaultdict
from statistics import fmean

import pytrec_eval

HEADS = {"dense", "lexical", "multi_vector", "dense_lexical", "all"}


def read_run(path) -> dict[str, dict[str, float]]:
    run = defaultdict(dict)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        query, q0, doc, _, score, _ = line.split(" ")
        assert q0 == "Q0" and doc not in run[query], f"{path}:{number}"
        run[query][doc] = float(score)
    return dict(run)


def read_judgments(folder) -> dict[str, dict[str, int]]:
    judgments = defaultdict(dict)
    for line in (folder / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, doc, relevance = line.split("\t")
        judgments[query][doc] = int(relevance)
    return dict(judgments)


def test_figures(run, compare):
    metrics = json.loads((run.eval_out / "metrics.json").read_text())
    assert metrics.keys() == {folder.name for folder in run.eval_data}
    for folder in run.eval_data:
        judgments = read_judgments(folder)
        assert metrics[folder.name].keys() == HEADS
        for head, ours in metrics[folder.name].items():
            found = read_run(run.eval_out / folder.name / f"{head}.trec")
            assert found.keys() == judgments.keys(), "a query without a line would drop out of trec_eval's means"
            theirs = pytrec_eval.RelevanceEvaluator(judgments, {"ndcg_cut_10", "recall_100"}).evaluate(found)
            # trec_eval's reciprocal rank has no cut-off: the lists are cut instead, in its order.
            first = {
                query: dict(sorted(docs.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:10])
                for query, docs in found.items()
            }
            ranks = pytrec_eval.RelevanceEvaluator(judgments, {"recip_rank"}).evaluate(first)
            for figure, values in [
                ("ndcg@10", [query["ndcg_cut_10"] for query in theirs.values()]),
                ("recall@100", [query["recall_100"] for query in theirs.values()]),
                ("mrr@10", [query["recip_rank"] for query in ranks.values()]),
            ]:
                compare(f"pytrec_eval: {figure}", ours[figure], fmean(values), 1e-6)


def test_lines_stand_in_trec_evals_order(run):
    for path in run.eval_out.glob("*/*.trec"):
        lists = defaultdict(list)
        for line in path.read_text().splitlines():
            query, _, doc, rank, score, _ = line.split(" ")
            lists[query].append((float(score), doc))
            assert int(rank) == len(lists[query]), path
        for hits in lists.values():
            assert hits == sorted(hits, reverse=True), path
