"""The losses of a job of this server, as the openai backend reads them."""

from backends.contract.backend import Endpoint
from backends.openai.backend import OpenAIBackend
from tests.controller.server.serve_helpers import BASE, TOKEN, serving, until, upload


def test_our_own_backend_reads_the_losses_of_a_job(tmp_path):
    with serving(tmp_path) as server:
        file = upload(server.client)
        job = server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        until(server.client, job.id, "succeeded")
        endpoint = Endpoint(name="here", kind="compatible", base_url=server.url)
        backend = OpenAIBackend(
            tmp_path / "client", endpoint, environment={"OPENAI_API_KEY": TOKEN}
        )
        points = [(p.step, p.train_loss, p.held_out_loss) for p in backend.curve(job.id)]
    assert points == [(1, 2.0, None), (2, 1.0, 1.5)]
