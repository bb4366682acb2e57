"""pytrec_eval computes the figures of metrics.json, and each query's, from the run files and judgments."""

import json
from collections import defaultdict
from statistics import fmean

import pytest
import pytrec_eval
import runs

HEADS = {"dense", "lexical", "multi_vector", "dense_lexical", "all"}
CUTS = [1, 3, 10, 37, 100, 1000]

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
        # The demo has BM25's beside them.
        assert metrics[folder.name].keys() - {"bm25"} == HEADS
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


@pytest.fixture(scope="module")
def at_every_cut(run, tmp_path_factory):
    """An evaluation with every metric at every cut-off."""
    out = tmp_path_factory.mktemp("cuts") / "out"
    names = ["ndcg", "recall", "mrr", "map", "precision"]
    metrics = ",".join(f"{name}@{cut}" for name in names for cut in CUTS)
    runs.tercet(
        *["eval", "--model", run.model, "--data", *run.eval_data, "--out", out, "-n", 2, "--metrics", metrics],
        *["--query-max-len", 32, "--passage-max-len", 128, "--rankings", "lexical,dense_lexical,all,bm25"],
    )
    return out


def test_every_metric_of_every_query(run, at_every_cut, compare):
    ours = defaultdict(dict)
    for figures in runs.read_json_lines(at_every_cut / "per_query.jsonl"):
        ours[figures["data"], figures["ranking"]][figures["query"]] = figures
    assert len(ours) == 4 * len(run.eval_data)
    measures = {f"{name}.{','.join(map(str, CUTS))}" for name in ["ndcg_cut", "recall", "map_cut", "P"]}
    for folder in run.eval_data:
        judgments = read_judgments(folder)
        for ranking in ["lexical", "dense_lexical", "all", "bm25"]:
            own = ours[folder.name, ranking]
            found = read_run(at_every_cut / folder.name / f"{ranking}.trec")
            theirs = pytrec_eval.RelevanceEvaluator(judgments, measures).evaluate(found)
            assert own.keys() == theirs.keys()
            names = [("ndcg", "ndcg_cut"), ("recall", "recall"), ("map", "map_cut"), ("precision", "P")]
            for cut in CUTS:
                for name, their_name in names:
                    for query, figures in theirs.items():
                        what = f"pytrec_eval: {name} of each query"
                        compare(what, own[query][f"{name}@{cut}"], figures[f"{their_name}_{cut}"], 1e-6)
                first = {
                    query: dict(sorted(docs.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:cut])
                    for query, docs in found.items()
                }
                ranks = pytrec_eval.RelevanceEvaluator(judgments, {"recip_rank"}).evaluate(first)
                for query, figures in ranks.items():
                    compare("pytrec_eval: mrr of each query", own[query][f"mrr@{cut}"], figures["recip_rank"], 1e-6)


def test_lines_stand_in_trec_evals_order(run):
    for path in run.eval_out.glob("*/*.trec"):
        lists = defaultdict(list)
        for line in path.read_text().splitlines():
            query, _, doc, rank, score, _ = line.split(" ")
            lists[query].append((float(score), doc))
            assert int(rank) == len(lists[query]), path
        for hits in lists.values():
            assert hits == sorted(hits, reverse=True), path
