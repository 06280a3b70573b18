"""The texts of an exported folder: `model.py` and its README."""

from __future__ import annotations

MODEL = '''"""{title}

Written by `python -m adv export`; needs torch only. The test script of the course template loads
`Net`, at the end of the file.{use}"""

{bundle}


class Net(nn.Module):
    """Maps images [n, {shape}] in [0, 1] to log-probabilities [n, {classes}].

    Always in evaluation mode: the test script does not call eval(), and train() changes nothing.
    """

    model_file = "models/default_model.pth"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # initial weights, which load() replaces
            net = {net}{defences}
        # The noise is seeded by the last call of torch.seed() or torch.manual_seed().
        attach(net, RngStream(torch.initial_seed())){votes}
        self.net = net
        self.eval()

    def train(self, mode=True):
        return super().train(False)

    def forward(self, x):
        return self.net(x).float().log_softmax(1)

    def save(self, model_file):
        torch.save(self.state_dict(), model_file)

    def load(self, model_file):
        device = next(self.parameters()).device
        self.load_state_dict(torch.load(model_file, map_location=device, weights_only=True))

    def load_for_testing(self, project_dir="./"):
        self.load(os.path.join(project_dir, self.model_file))


if __name__ == "__main__":
    net = Net()
    net.load_for_testing(os.path.dirname(os.path.abspath(__file__)))
    print(net, sum(p.numel() for p in net.parameters()), "parameters", sep="\\n")
'''

README = """{title}

    model.py                    class Net and all that it needs; imports torch only
    {weights}    the weights, a state dict

The folder follows the template of the course: Net() takes no arguments, and
load_for_testing(project_dir) loads the weights. Images are in [0, 1] (ToTensor and no other
transform); the outputs are the log-probabilities of

    {classes}

eval() need not be called, and train() has no effect.{use}

How the net was made

    {recipe}

{notes}
Needs Python 3.10 and torch 2.5 or later. `python model.py` prints the net.
"""

SINGLE_DRAW = """
The net is random, and each call draws new noise, so test it with several samples:
python test_project.py . --num-samples 20
"""
MEAN_OF_DRAWS = """
The net is random; each call returns the mean probabilities of {votes} draws.
"""
