"""The stages of every search: weights, baseline, architecture, surgery, finetuning."""

from __future__ import annotations

import dataclasses

import keras

from keras_nas.architecture import Architecture
from keras_nas.errors import KerasNasError
from keras_nas.loading import load_model
from keras_nas.runs.config import BASELINE
from keras_nas.runs.environment import set_seed
from keras_nas.runs.network import create_model
from keras_nas.runs.preflight import check_fits
from keras_nas.runs.stage import RunStage
from keras_nas.search.method import Context, check_features, evaluation, surgery_record
from keras_nas.training.records import read_records, write_records


class Weights(RunStage):
    """Trains the full network's weights."""

    name = "weights"
    _supernet: keras.Model

    def writes(self, folder):
        return folder.supernet, folder.original

    def prepare(self, bench):
        """Makes the network, and looks at all that can be known to go wrong with it."""
        bench.enter(self.name)
        model = create_model(bench.config, bench.data)
        check_fits(model, bench.data, bench.config.data)
        source = bench.source
        self._supernet = bench.method.make_supernet(model, from_file="path" in source)
        bench.method.check(self._supernet, bench.context(self._supernet), source)
        check_features(bench.method, self._supernet)

    def run(self, bench):
        bench.method.train_weights(self._supernet, bench.context(self._supernet))
        bench.folder.save_model(bench.folder.supernet, self._supernet)
        original = bench.method.original(self._supernet)
        bench.record("original", original, bench.folder.original)


class Baseline(RunStage):
    """Trains the network without gates by itself, to compare with."""

    name = BASELINE

    def writes(self, folder):
        return (folder.baseline,)

    def run(self, bench):
        config = bench.config
        set_seed(config.seed, config.deterministic)
        model = bench.method.bare(create_model(config, bench.data))
        bench.method.train(self.name, model, config.baseline, bench.context(model))
        bench.record(self.name, model, bench.folder.baseline)


class FindArchitecture(RunStage):
    """Learns what is kept."""

    name = "architecture"

    def reads(self, folder):
        return (folder.supernet,)

    def writes(self, folder):
        return folder.supernet, folder.architecture

    def run(self, bench):
        folder, method = bench.folder, bench.method
        supernet = folder.load_model(folder.supernet, Weights.name)
        records = method.learn(supernet, bench.context(supernet))
        architecture = method.architecture(supernet, bench.config.seed, bench.source)
        folder.save_model(folder.supernet, supernet)
        architecture.save(folder.architecture)
        folder.update_results(**method.summary(records))
        folder.update_results(rows={"gated": bench.evaluate(supernet)})
        bench.check_result(supernet, architecture)


class Surgery(RunStage):
    """Rebuilds the network without what is not kept; judges it with new statistics too."""

    name = "surgery"

    def reads(self, folder):
        return folder.supernet, folder.architecture

    def writes(self, folder):
        return (folder.small,)

    def run(self, bench):
        folder = bench.folder
        supernet = folder.load_model(folder.supernet, FindArchitecture.name)
        architecture = _found(folder)
        if FindArchitecture.name not in bench.config.stages:
            bench.check_result(supernet, architecture)
        small = bench.method.rebuild(supernet, architecture)
        bench.record("pruned", small, folder.small)
        context = bench.context(supernet)
        record = surgery_record(supernet, small, context)
        if bench.method.renew_statistics(small, context):
            record.update(evaluation("reestimated", small, context))
            folder.update_results(rows={"reestimated": bench.evaluate(small)})
        write_records(folder.metrics, self.name, [record])


class Finetune(RunStage):
    """Trains the small network, and those that it is compared with; all may have a teacher."""

    name = "finetune"
    _teacher: keras.Model | None = None

    def reads(self, folder):
        return folder.small, folder.architecture

    def writes(self, folder):
        return (folder.finetuned,)

    def prepare(self, bench):
        """Finds the teacher's file, where there is to be one."""
        config = bench.config
        if bench.method.distill is None:
            return
        if config.teacher:
            self._teacher = load_model(config.teacher)
            check_fits(self._teacher, bench.data, config.data)
        elif Weights.name not in config.stages:
            bench.folder.require(bench.folder.original, Weights.name)

    def run(self, bench):
        folder, method = bench.folder, bench.method
        if method.distill is not None and self._teacher is None:
            self._teacher = folder.load_model(folder.original, Weights.name)
        small = folder.load_model(folder.small, Surgery.name)
        architecture = _found(folder)
        method.renew_statistics(small, bench.context(small))
        small = method.retrained(small, architecture)
        method.finetune(small, self._context(bench, small))
        bench.record("finetuned", small, folder.finetuned)
        for name, baseline in method.random_baselines(small, architecture, bench.config.seed):
            method.finetune(baseline, self._context(bench, baseline), name)
            bench.record(name, baseline, folder.path / f"{name}.keras")

    def _context(self, bench, model: keras.Model) -> Context:
        context = bench.context(model, self._teacher)
        if not getattr(bench.method.config, "total_epochs", 0):
            return context
        return dataclasses.replace(context, learned=_epochs_learned(bench))


def search_stages() -> list[RunStage]:
    """The stages of a search, in order."""
    return [Weights(), Baseline(), FindArchitecture(), Surgery(), Finetune()]


def _epochs_learned(bench) -> int:
    """The epochs of the architecture stage, which all hosts read in the folder that they share."""
    path = bench.session.directory / bench.folder.metrics.name
    learned = [r for r in read_records(path) if r["stage"] == bench.method.learns_in]
    if not learned:
        raise KerasNasError(
            f"`total_epochs` needs the epochs of stage '{bench.method.learns_in}'. Received: "
            f"{path}, which has none of them (--stages=architecture writes them)"
        )
    return len(learned)


def _found(folder) -> Architecture:
    folder.require(folder.architecture, FindArchitecture.name)
    return Architecture.load(folder.architecture)
